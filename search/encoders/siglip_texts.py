"""Tokenizers of SigLIP and SigLIP 2, as they were trained.

SigLIP (Zhai et al. 2023) reads lower case without punctuation; transformers has its tokenizer in Python alone. SigLIP 2
(Tschannen et al. 2025) reads lower case; its published files name a tokenizer that leaves upper case as it is.
"""

from __future__ import annotations

import re
import string
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, processors


def as_trained(tokenizer: Any) -> Tokenizer:
    """``tokenizer`` is what transformers makes of the model's files."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        before = [backend.normalizer] if backend.normalizer is not None else []
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *before])
        found: Tokenizer = backend
        return found
    from transformers.convert_slow_tokenizer import SpmConverter

    converted: Tokenizer = SpmConverter(tokenizer).converted()
    converted.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            converted.normalizer,
        ]
    )
    end = (tokenizer.eos_token, tokenizer.eos_token_id)
    converted.post_processor = processors.TemplateProcessing(single=f"$A {end[0]}", special_tokens=[end])
    return converted
