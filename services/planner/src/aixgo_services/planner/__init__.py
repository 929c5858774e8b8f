"""The planner role: a problem in, a plan out that can be carried out."""
