"""Chat templates as lm-eval applies them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harness.errors import ModelError
from harness.models.encoding import fixed_date

Turns = Sequence[dict[str, str]]


def chat_formatter(tokenizer: Any) -> Callable[..., str]:
    """A function from chat turns to the text that the model reads; without a generation prompt the last turn is left open."""

    def text(turns: Turns, add_generation_prompt: bool = True) -> str:
        import jinja2

        def rendered(kept: Turns) -> str:
            settings = {"add_generation_prompt": add_generation_prompt, "continue_final_message": not add_generation_prompt}
            with fixed_date():
                return str(tokenizer.apply_chat_template(list(kept), tokenize=False, **settings))

        try:
            return rendered(turns)
        except jinja2.TemplateError as error:  # as lm-eval does: many templates have no system turn
            kept = [turn for turn in turns if turn["role"] != "system"]
            if len(kept) == len(turns):
                raise ModelError(f"The model's chat template refuses the prompt: {error}.", "Try without the chat template.") from error
            return rendered(kept)

    return text
