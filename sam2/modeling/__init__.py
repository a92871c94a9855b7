"""The published names of the parts below the predictors."""
