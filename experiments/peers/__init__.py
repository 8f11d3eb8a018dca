"""Samplers of other libraries on the exact problems: their orders, and their equals of ours."""
