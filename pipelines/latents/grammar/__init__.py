"""Automata over token ids, from which the parts of z are sampled.

They know no kind of latent: kinds build the automaton of their part and pass their rules to it.
"""
