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
    "planted_outliers": f"{_HERE}.planted_outliers:PlantedOutliers",
}
