"""Many short jobs through a local cloud that is killed again and again: is anything lost, is anything done twice?"""
