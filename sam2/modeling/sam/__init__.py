"""Prompt encoder and mask decoder, in the call forms of the published package."""
