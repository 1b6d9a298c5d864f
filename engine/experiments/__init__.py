"""The experiments that ship; one file and one line here each."""

from __future__ import annotations

_HERE = "phasecube.engine.experiments"

EXPERIMENTS = {
    "modular_arithmetic": f"{_HERE}.modular_arithmetic:ModularArithmetic",
    "lazy_to_rich": f"{_HERE}.lazy_to_rich:LazyToRich",
    "language_model": f"{_HERE}.language_model:LanguageModel",
    "linear_teacher": f"{_HERE}.linear_teacher:LinearTeacher",
    "sgd_quadratic": f"{_HERE}.sgd_quadratic:SgdQuadratic",
    "deep_linear": f"{_HERE}.deep_linear:DeepLinear",
    "directpred": f"{_HERE}.directpred:DirectPred",
    "diagonal_linear": f"{_HERE}.diagonal_linear:DiagonalLinear",
    "state_space": f"{_HERE}.state_space:StateSpace",
    "scalar_quartic": f"{_HERE}.scalar_quartic:ScalarQuartic",
    "mlp_regression": f"{_HERE}.mlp_regression:MlpRegression",
    "trainability_fractal": f"{_HERE}.trainability_fractal:TrainabilityFractal",
    "criticality": f"{_HERE}.criticality:Criticality",
    "ntk": f"{_HERE}.ntk:Ntk",
    "training_lyapunov": f"{_HERE}.training_lyapunov:TrainingLyapunov",
    "boxed_quadratic": f"{_HERE}.boxed_quadratic:BoxedQuadratic",
    "river_valley": f"{_HERE}.river_valley:RiverValley",
    "bigram_table": f"{_HERE}.bigram_table:BigramTable",
    "opposing_signals": f"{_HERE}.opposing_signals:OpposingSignals",
    "sum_chain": f"{_HERE}.sum_chain:SumChain",
    "self_consuming": f"{_HERE}.self_consuming:SelfConsuming",
    "stability_gap": f"{_HERE}.stability_gap:StabilityGap",
    "edge_of_reach": f"{_HERE}.edge_of_reach:EdgeOfReach",
    "histogram_value": f"{_HERE}.histogram_value:HistogramValue",
    "verifiable_reward": f"{_HERE}.verifiable_reward:VerifiableReward",
    "softmax_bandit": f"{_HERE}.softmax_bandit:SoftmaxBandit",
    "policy_cliff": f"{_HERE}.policy_cliff:PolicyCliff",
    "anchored_sft": f"{_HERE}.anchored_sft:AnchoredSft",
    "length_policy": f"{_HERE}.length_policy:LengthPolicy",
    "planted_outliers": f"{_HERE}.planted_outliers:PlantedOutliers",
    "spectral_law": f"{_HERE}.spectral_law:SpectralLaw",
    "high_dimensional_regression": (
        f"{_HERE}.high_dimensional_regression:HighDimensionalRegression"
    ),
    "random_features": f"{_HERE}.random_features:RandomFeatures",
    "zipf_memoriser": f"{_HERE}.zipf_memoriser:ZipfMemoriser",
}
