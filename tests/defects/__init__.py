"""Seeded defects: one small change each on a good repository, through the real workflow; which check turns red?"""
