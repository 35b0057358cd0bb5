"""Measurements of Chainbell: ratios against a bare loop of the same run. See README.md; never part of the tests."""
