"""Examples that the base model writes itself, for users who have no data: distillation needs text, not truth."""

from pathlib import Path
from typing import Any

import torch

from llamanas.models.families import shape_of
from llamanas.progress import progress
from llamanas.randomness import generator

DATE = "26 Jul 2024"  # for templates that tell the day, so that no table depends on it
CPU_BATCH = 8  # texts written at once


def written_rows(folder: Path, count: int, max_tokens: int, seed: int, device: str) -> list[dict]:
    """``count`` rows of artifact ``written``, sampled from the model in ``folder``.

    Where the tokenizer has a chat template, every second text is a user's message and the assistant's answer to it; the
    others begin with a random token (as LLM-QAT, arXiv 2305.17888). A text is at most ``max_tokens`` long.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    dtype = torch.bfloat16 if device != "cpu" else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True)
    model = model.to(device).eval()
    torch.manual_seed(seed)
    draws = generator(seed, "first tokens")
    special = set(tokenizer.all_special_ids)
    ordinary = [token for token in range(len(tokenizer)) if token not in special]
    chat = _chat_parts(tokenizer, max_tokens)
    rows: list[dict] = []
    size = _batch(model, max_tokens)
    for begin in progress(range(0, count, size), "write", -(-count // size), "group"):
        numbers = range(begin, min(begin + size, count))
        talks = [number for number in numbers if chat and number % 2]
        if chat and talks:
            user, assistant = chat
            half = (max_tokens + len(user) - len(assistant)) // 2  # as much room for the answer as for the message
            messages = _sampled(model, tokenizer, [user] * len(talks), half)
            prompts = [user + _without_end(message, tokenizer) + assistant for message in messages]
            rows += _rows(model, tokenizer, prompts, max_tokens)
        if others := [number for number in numbers if number not in talks]:
            starts = [[ordinary[draws.integers(len(ordinary))]] for _ in others]
            rows += _rows(model, tokenizer, starts, max_tokens)
    return rows


def _rows(model: Any, tokenizer: Any, prompts: list[list[int]], max_tokens: int) -> list[dict]:
    answers = _sampled(model, tokenizer, prompts, max_tokens)
    pairs = zip(prompts, answers, strict=True)
    return [{"source": "written", "prompt": p, "answer": a[: max_tokens - len(p)], "labelled": True} for p, a in pairs]


def _without_end(tokens: list[int], tokenizer: Any) -> list[int]:
    return tokens[:-1] if tokens[-1:] == [tokenizer.eos_token_id] else tokens


def _chat_parts(tokenizer: Any, max_tokens: int) -> tuple[list[int], list[int]] | None:
    """Tokens before a user's message, and between it and the assistant's.

    None without a chat template, and where it leaves less than a quarter of the tokens or does not frame the message.
    """
    if not tokenizer.chat_template:
        return None
    mark = "\x00"
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": mark}], tokenize=False, add_generation_prompt=True, date_string=DATE
        )
    except Exception as error:  # a template is a program, which may raise what it likes
        print(f"no conversations are written: the chat template fails ({type(error).__name__}: {error})")
        return None
    parts = [tokenizer.encode(part, add_special_tokens=False) for part in text.split(mark)]
    if len(parts) != 2 or not parts[0] or sum(map(len, parts)) > 3 * max_tokens // 4:
        print("no conversations are written: the chat template is too long, or does not frame the message once")
        return None
    return parts[0], parts[1]


@torch.inference_mode()
def _sampled(model: Any, tokenizer: Any, prompts: list[list[int]], max_tokens: int) -> list[list[int]]:
    """What the model writes after each prompt, up to the end of its turn, at temperature 1."""
    longest = max(map(len, prompts))
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    padded = torch.tensor([[padding] * (longest - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    new = max(max_tokens - longest, 1)
    written = model.generate(
        padded, attention_mask=mask, do_sample=True, top_k=0, top_p=1.0, temperature=1.0, repetition_penalty=1.0,
        max_new_tokens=new, pad_token_id=padding,
    )  # fmt: skip
    ends = _ends(model, tokenizer)
    texts = []
    for line in written[:, longest:].tolist():
        end = next((place for place, token in enumerate(line) if token in ends), None)
        texts.append(line if end is None else [*line[:end], tokenizer.eos_token_id])
    return texts


def _ends(model: Any, tokenizer: Any) -> set[int]:
    """Tokens after which a text is over: the tokenizer's, and those at which the model stops by itself."""
    own = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None}


def _batch(model: Any, max_tokens: int) -> int:
    """Texts written at once: as many as keep their keys and values in an eighth of a GPU's memory."""
    if model.device.type == "cpu":
        return CPU_BATCH
    shape = shape_of(model.config.to_dict())
    per_text = max_tokens * shape.full.kv_bytes_per_token(shape, 2)
    return max(torch.cuda.get_device_properties(model.device).total_memory // 8 // per_text, 1)
