"""Asks the Hugging Face library about testdata/trained/tokenizer.json, which Trainer wrote (go test -run Trained -update).

Run in this directory: python make_trained.py
"""
import random

import make_golden
from tokenizers import Tokenizer

tok = Tokenizer.from_file("trained/tokenizer.json")
make_golden.write("trained/golden.json", make_golden.golden(tok, make_golden.strings(), random.Random(make_golden.SEED)))
