"""Fabric's own API, on `/fabric`: what no OpenStack API has a word for. Explanations, room."""
