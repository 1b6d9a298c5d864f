"""Scaling laws that cannot be wrong silently: rows → law → fit → how sure → where the optimum is.

Import from the modules: `points`, `law`, `fit`, `resampled`, `optimum`.
"""
