"""From examples to pairs of prompt and completion, tokenized as the evaluation tokenizes them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from harness.contract import Prompt, TokenIds
from harness.errors import DataError, ModelError
from harness.models.encoding import Encoder, fixed_date
from harness.tasks.prompts import Question, TemplateVariant
from harness.tune.mixture import Example


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """What the model reads, and what it learns to answer; the end token belongs to the completion."""

    prompt: TokenIds
    completion: TokenIds

    @property
    def tokens(self) -> int:
        """Of both together."""
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True)
class PairMaker:
    """Makes the pairs of one model.

    Args:
        encoder: the tokenizer's side, its length limit less whatever a soft prompt takes.
    """

    encoder: Encoder

    def pairs(self, examples: Sequence[Example]) -> tuple[list[TrainingPair], int]:
        """The pairs of examples in their order without those that do not fit the model, and how many those are.

        Raises:
            DataError: none fits.
            TaskError: a template or expression fails.
        """
        asked = [self._texts(example) for example in examples]
        encoded = self.encoder.choices([prompt for prompt, _ in asked], [[completion] for _, completion in asked])
        pairs = [TrainingPair(item.context, self._ended(item.choices[0])) for item in encoded]
        fitting = [pair for pair in pairs if self._fits(pair)]
        if not fitting:
            raise DataError(
                f"No training pair fits the model's {self.encoder.max_length} tokens.",
                "Use a model with a longer context, or another task.",
            )
        return fitting, len(pairs) - len(fitting)

    def _texts(self, example: Example) -> tuple[str, str]:
        """The exact text of the prompt, and of the completion after it."""
        variant = example.variant
        question = variant.question(example.item)
        prompt = variant.prompt(question, ())
        answer = question.references[0]
        if prompt.messages is not None:
            text = self.encoder.text(prompt)
            return text, self._turn(prompt, text, answer)
        return prompt.text, self._lead(variant, question, prompt) + answer

    def _lead(self, variant: TemplateVariant, question: Question, prompt: Prompt) -> str:
        """What the completion begins with.

        A choice is scored after the delimiter, so it is learned after it. A generated text follows the prompt as it stands: a
        decoder-only model has to write the delimiter itself, unless that would end the generation; then it writes a space.
        An encoder-decoder model starts with the answer.
        """
        if not prompt.text:
            return ""
        if question.choices or variant.task.answer != "generate":
            return prompt.delimiter
        if self.encoder.architecture == "seq2seq":
            return ""
        ends = any(stop in prompt.delimiter for stop in variant.task.generation.stop)
        return " " if ends else prompt.delimiter

    def _turn(self, prompt: Prompt, text: str, answer: str) -> str:
        """The answer as the chat template ends it: with the token that ends the model's turn."""
        messages = [{"role": message.role, "content": message.content} for message in prompt.messages or ()]
        whole = [*messages, {"role": "assistant", "content": answer}]
        try:
            with fixed_date():
                rendered = str(self.encoder.tokenizer.apply_chat_template(whole, tokenize=False))
        except Exception as error:
            raise ModelError(f"The model's chat template refuses an answer: {error}.", "Try --no-chat.") from error
        return rendered[len(text) :].rstrip() if rendered.startswith(text + answer) else answer

    def _ended(self, completion: TokenIds) -> TokenIds:
        """The completion with an end token, unless it has one."""
        tokenizer = self.encoder.tokenizer
        if tokenizer.eos_token_id is None:
            raise ModelError("The tokenizer has no end token, so the model cannot learn where to stop.", "Set one and save it.")
        ended = bool(completion) and (completion[-1] == tokenizer.eos_token_id or completion[-1] in tokenizer.all_special_ids)
        return completion if ended else (*completion, int(tokenizer.eos_token_id))

    def _fits(self, pair: TrainingPair) -> bool:
        limit = self.encoder.max_length
        if limit is None:
            return True
        if self.encoder.architecture == "seq2seq":
            return max(len(pair.prompt), len(pair.completion)) <= limit
        return pair.tokens <= limit


def pairs_digest(pairs: Sequence[TrainingPair]) -> str:
    """SHA-256 (hex) over all token ids, in their order."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(f"{pair.prompt}{pair.completion}".encode())
    return digest.hexdigest()
