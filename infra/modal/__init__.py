"""The adapter of Modal, where GPU stages run."""
