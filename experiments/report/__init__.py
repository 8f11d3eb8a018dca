"""The report: a page of all rows, from where each is found by its id and made anew."""
