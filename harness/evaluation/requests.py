"""From a task's items to requests: prompts with their shots, token ids, and a fit to the model's length that cuts nothing in silence."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from harness.contract import Generate, Item, Request, ScoreChoices, ScoreText, TokenIds
from harness.errors import TaskError
from harness.tasks.prompts import Question, TemplateVariant, draw_shots

if TYPE_CHECKING:
    from harness.models.encoding import Encoder

Texts: TypeAlias = tuple[str, ...]
"""What stands before the choices: one text for all, or one for each."""


@dataclass(frozen=True, slots=True)
class ItemRequests:
    """One item on its way through the engine.

    Attributes:
        question: the item with its answers.
        text: the exact text the model reads; the first choice's where each has its own.
        request: what the engine is asked.
        prior: asks for the choices without the question, where a metric wants it.
        more: ask for further texts of the same prompt, each from a seed of its own.
        shots_dropped: shots left out because the prompt was too long.
        text_cut: whether the item's own text was cut as well.
    """

    question: Question
    text: str
    request: Request
    shots_dropped: int = 0
    text_cut: bool = False
    prior: ScoreChoices | None = None
    more: tuple[Generate, ...] = ()

    @property
    def requests(self) -> tuple[Request, ...]:
        """Everything that the engine is asked for this item."""
        return (self.request, *self.more) if self.prior is None else (self.request, self.prior)


@dataclass(slots=True)
class PreparationTime:
    """Wall time of the two halves of preparation."""

    render: float = 0.0
    tokenize: float = 0.0


@dataclass(frozen=True)
class RequestBuilder:
    """Prepares the items of one task in one template for one tokenizer.

    Args:
        variant: task, template, chat or plain.
        encoder: the tokenizer's side.
        pool: items from which shots are drawn.
        shots: how many.
        seed: seeds random shots and samples.
        name: sets this template's requests apart from those of another template of the same task.
        texts: how many are generated for each item, where they are sampled.
    """

    variant: TemplateVariant
    encoder: Encoder
    pool: Sequence[Item]
    shots: int
    seed: int
    name: str = ""
    texts: int = 1
    _solved: dict[str, Question] = field(default_factory=dict, init=False, repr=False)

    def prepare(self, items: Sequence[Item], seconds: PreparationTime) -> list[ItemRequests]:
        """Requests for all items, in their order; raises TaskError as `ask` does."""
        began = time.perf_counter()
        questions = [self.variant.question(item) for item in items]
        seconds.render += time.perf_counter() - began
        return self.ask(questions, seconds)

    def ask(self, questions: Sequence[Question], seconds: PreparationTime) -> list[ItemRequests]:
        """Requests for questions, in their order. Shots are drawn by the item's id, whatever its row has become.

        Raises:
            TaskError: a template fails, an answer has no tokens, or an item does not fit the model whatever is left out.
        """
        began = time.perf_counter()
        items = [question.item for question in questions]
        drawn = [self._drawn(item) for item in items]
        texts = [self._texts(question, shots) for question, shots in zip(questions, drawn, strict=True)]
        rendered = time.perf_counter()
        requests = self._requests(questions, texts)
        item_requests = [
            ItemRequests(question, text[0], request) if self._fits(request) else self._shortened(question, shots)
            for question, shots, text, request in zip(questions, drawn, texts, requests, strict=True)
        ]
        if any(spec.options.get("normalize") == "pmi" for spec in self.variant.task.metrics):
            item_requests = [replace(one, prior=prior) for one, prior in zip(item_requests, self._priors(questions), strict=True)]
        item_requests = [replace(one, more=self._more(one.request)) for one in item_requests] if self.texts > 1 else item_requests
        seconds.render += rendered - began
        seconds.tokenize += time.perf_counter() - rendered
        return item_requests

    def _drawn(self, item: Item) -> list[Question]:
        return [self._shot(shot) for shot in draw_shots(self.variant.task, self.pool, item, self.shots, self.seed)]

    def _shot(self, item: Item) -> Question:
        """An item of the pool with its answers, found once for all the prompts it stands in."""
        if item.id not in self._solved:
            self._solved[item.id] = self.variant.question(item)
        return self._solved[item.id]

    def _texts(self, question: Question, shots: Sequence[Question]) -> Texts:
        return tuple(self.encoder.text(prompt) for prompt in self.variant.prompts(question, shots))

    def _ids(self, questions: Sequence[Question]) -> list[str]:
        return [f"{self.variant.task.task}/{self.name or self.variant.template.name}/{question.item.id}" for question in questions]

    def _requests(self, questions: Sequence[Question], contexts: Sequence[Texts]) -> list[Request]:
        task, template = self.variant.task, self.variant.template
        ids, texts = self._ids(questions), [context[0] for context in contexts]
        if task.answer == "generate":
            settings = task.generation
            return [
                Generate(
                    key,
                    context,
                    settings.max_new_tokens,
                    settings.stop,
                    settings.temperature,
                    settings.top_p,
                    self._item_seed(key),
                    settings.beams,
                )
                for key, context in zip(ids, self.encoder.contexts(texts), strict=True)
            ]
        delimiter = "" if self.variant.chat else template.delimiter
        if task.answer == "score_text":
            windows = [
                self.encoder.windows(text, (delimiter if text else "") + question.references[0])
                for text, question in zip(texts, questions, strict=True)
            ]
            for question, parts in zip(questions, windows, strict=True):
                self._check_tokens(question, "text", question.references[0], parts[0][1])
            return [ScoreText(key, parts) for key, parts in zip(ids, windows, strict=True)]
        if template.prompts is not None:
            return [self._pairs(key, question, context, delimiter) for key, question, context in zip(ids, questions, contexts, strict=True)]
        return list(self._choices(ids, questions, texts, delimiter))

    def _choices(self, ids: Sequence[str], questions: Sequence[Question], texts: Sequence[str], delimiter: str) -> list[ScoreChoices]:
        encoded = self.encoder.choices(texts, [[delimiter + choice for choice in question.choices] for question in questions])
        for question, one in zip(questions, encoded, strict=True):
            for choice, tokens in zip(question.choices, one.choices, strict=True):
                self._check_tokens(question, "choice", choice, tokens)
        return [ScoreChoices(key, one.context, one.choices) for key, one in zip(ids, encoded, strict=True)]

    def _pairs(self, key: str, question: Question, contexts: Texts, delimiter: str) -> ScoreText:
        """A question whose choices have a context each."""
        encoded = self.encoder.choices(contexts, [[delimiter + choice] for choice in question.choices])
        for choice, one in zip(question.choices, encoded, strict=True):
            self._check_tokens(question, "choice", choice, one.choices[0])
        return ScoreText(key, tuple((one.context, one.choices[0]) for one in encoded))

    def _more(self, request: Request) -> tuple[Generate, ...]:
        """The same again with other seeds; nothing where decoding is greedy, and every text would be the same."""
        if not isinstance(request, Generate) or request.temperature == 0:
            return ()
        keys = [f"{request.id}/{number}" for number in range(1, self.texts)]
        return tuple(replace(request, id=key, seed=self._item_seed(key)) for key in keys)

    def _priors(self, questions: Sequence[Question]) -> list[ScoreChoices]:
        prompt = self.variant.unconditional()
        delimiter = "" if self.variant.chat or not prompt.text else self.variant.template.delimiter
        ids = [f"{key}/prior" for key in self._ids(questions)]
        return self._choices(ids, questions, [self.encoder.text(prompt)] * len(questions), delimiter)

    def _item_seed(self, key: str) -> int:
        from harness.models.digests import text_digest

        return int(text_digest(f"{self.seed}/{key}")[:8], 16)

    def _check_tokens(self, question: Question, kind: str, text: str, tokens: TokenIds) -> None:
        if not tokens:
            raise TaskError(
                f"Task {self.variant.task.task}, item {question.item.id}: the {kind} {text!r} has no tokens of its own.",
                f"Change the template's delimiter or the {kind}.",
            )

    def _fits(self, request: Request) -> bool:
        limit = self.encoder.max_length
        if limit is None:
            return True
        if isinstance(request, ScoreText) and self.variant.template.prompts is not None:
            return all(self._fits(ScoreChoices(request.id, context, (scored,))) for context, scored in request.windows)
        if isinstance(request, ScoreText):
            return all(len(context) <= limit for context, _ in request.windows)
        if isinstance(request, ScoreChoices):
            answer = max(len(choice) for choice in request.choices)
            return max(len(request.context), answer) <= limit if self._apart else len(request.context) + answer - 1 <= limit
        return len(request.context) <= limit if self._apart else len(request.context) + request.max_new_tokens <= limit

    @property
    def _apart(self) -> bool:
        """Whether prompt and answer stand in different sequences, each with the whole length to itself."""
        return self.encoder.architecture == "seq2seq"

    def _shortened(self, question: Question, shots: Sequence[Question]) -> ItemRequests:
        """The item with as many whole shots as fit, the last ones dropped; without any, its longest field is cut at the end."""
        for kept in range(len(shots) - 1, -1, -1):
            texts, request = self._tried(question, shots[:kept])
            if self._fits(request):
                return ItemRequests(question, texts[0], request, len(shots) - kept)
        return self._cut(question, len(shots))

    def _tried(self, question: Question, shots: Sequence[Question]) -> tuple[Texts, Request]:
        texts = self._texts(question, shots)
        return texts, self._requests([question], [texts])[0]

    def _fits_with(self, with_field: Callable[[str, int], tuple[Texts, Request]], name: str, characters: int) -> bool:
        return self._fits(with_field(name, characters)[1])

    def _cut(self, question: Question, dropped: int) -> ItemRequests:
        row = question.item.row
        fields = sorted((name for name, value in row.items() if isinstance(value, str)), key=lambda name: -len(row[name]))

        def with_field(name: str, characters: int) -> tuple[Texts, Request]:
            shorter = replace(question.item, row={**row, name: row[name][:characters]})
            return self._tried(replace(question, item=shorter), ())

        for name in fields:
            fits = partial(self._fits_with, with_field, name)
            if fits(0):
                texts, request = with_field(name, _largest(len(row[name]), fits))
                return ItemRequests(question, texts[0], request, dropped, text_cut=True)
        raise TaskError(
            f"Task {self.variant.task.task}, item {question.item.id}: the prompt is longer than the model's {self.encoder.max_length} "
            "tokens, even without shots and with any one field left out.",
            "Use a model with a longer context, or leave the item out with data.filter.",
        )


def _largest(high: int, fits: Callable[[int], bool]) -> int:
    """The largest count in [0, high) that fits, given that 0 does and that what fits is an unbroken range."""
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
