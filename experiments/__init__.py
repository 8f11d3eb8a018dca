"""Studies: run solvers on targets, measure their errors, store the rows, draw the report."""
