"""Learning a policy from rewards: rollouts, and the parts that algorithms are made of.

Every `collect_every` steps answers to prompts are sampled and judged (`training`); what a
algorithm does with them is a sum of parts (`parts`): shaping of the reward, advantage,
surrogate loss, weights of tokens, penalties. A part is a function of plain tensors of one
trial, in a module of its own; modules of parts import no torch at their top, because
planning asks for their names.
"""
