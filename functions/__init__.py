"""Serverless entry points, thin: parse, call, answer."""
