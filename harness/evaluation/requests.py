"""From the items of a task to requests: prompts with few-shot examples, token ids, and a fit to the model's context length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from harness.contract import Generate, Item, Prompt, Request, ScoreChoices, ScoreText, TokenIds
from harness.errors import TaskError
from harness.tasks.prompts import Question, TemplateVariant, draw_shots

if TYPE_CHECKING:
    from harness.evaluation.progress import StageTimer
    from harness.models.encoding import Encoder


@dataclass(frozen=True, slots=True)
class ItemRequests:
    """One item and the requests that the engine gets for it.

    Attributes:
        question: the item with its answers.
        text: the exact text the model reads; that of the first choice where each choice has a prompt of its own.
        request: the item's main request.
        shots_dropped: few-shot examples left out because the prompt was too long.
        text_cut: whether the item's own text was cut as well.
        prior: scores the choices without the question, for metrics that need it.
        more: generate further texts from the same prompt, each with a seed of its own.
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
        """Every request of this item."""
        return (self.request, *self.more) if self.prior is None else (self.request, self.prior)


class _ItemPrompts(NamedTuple):
    """The prompts of one item: one for all choices, or one for each; and the exact texts that they become."""

    prompts: tuple[Prompt, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class RequestBuilder:
    """Builds the requests of one task with one prompt template and one tokenizer.

    Args:
        variant: the task, the template, and whether prompts are chat messages.
        encoder: the model's tokenizer.
        pool: items from which few-shot examples are drawn.
        shots: number of few-shot examples.
        seed: for random few-shot examples and for sampling.
        name: distinguishes this variant's requests from those of another variant of the same task.
        texts: number of texts generated for each item, where they are sampled.
    """

    variant: TemplateVariant
    encoder: Encoder
    pool: Sequence[Item]
    shots: int
    seed: int
    name: str = ""
    texts: int = 1
    _examples: dict[str, Question] = field(default_factory=dict, init=False, repr=False)

    def prepare(self, items: Sequence[Item], timer: StageTimer) -> list[ItemRequests]:
        """Build the requests of items, in their order; see `build`."""
        with timer.measure("render"):
            questions = [self.variant.question(item) for item in items]
        return self.build(questions, timer)

    def build(self, questions: Sequence[Question], timer: StageTimer) -> list[ItemRequests]:
        """Build the requests of questions, in their order. Few-shot examples are drawn by item id, whatever a perturbation did to the row.

        Raises:
            TaskError: a template fails, an answer has no tokens, or an item does not fit the model's context length.
        """
        with timer.measure("render"):
            drawn = [self._drawn(question.item) for question in questions]
            prompts = [self._prompts(question, shots) for question, shots in zip(questions, drawn, strict=True)]
        with timer.measure("tokenize"):
            requests = self._requests(questions, prompts)
            whole = [
                ItemRequests(question, rendered.texts[0], request) if self._fits(request) else self._shortened(question, shots)
                for question, shots, rendered, request in zip(questions, drawn, prompts, requests, strict=True)
            ]
            if any(spec.options.get("normalize") == "pmi" for spec in self.variant.task.metrics):
                priors = self._priors(questions)
                whole = [replace(item_requests, prior=prior) for item_requests, prior in zip(whole, priors, strict=True)]
            if self.texts > 1:
                whole = [replace(item_requests, more=self._more(item_requests.request)) for item_requests in whole]
        return whole

    def _drawn(self, item: Item) -> list[Question]:
        return [self._example(example) for example in draw_shots(self.variant.task, self.pool, item, self.shots, self.seed)]

    def _example(self, item: Item) -> Question:
        """An item of the pool with its answers, evaluated once for all prompts that show it."""
        if item.id not in self._examples:
            self._examples[item.id] = self.variant.question(item)
        return self._examples[item.id]

    def _prompts(self, question: Question, shots: Sequence[Question]) -> _ItemPrompts:
        prompts = tuple(self.variant.prompts(question, shots))
        return _ItemPrompts(prompts, tuple(self.encoder.text(prompt) for prompt in prompts))

    def _ids(self, questions: Sequence[Question]) -> list[str]:
        return [f"{self.variant.task.task}/{self.name or self.variant.template.name}/{question.item.id}" for question in questions]

    def _requests(self, questions: Sequence[Question], prompts: Sequence[_ItemPrompts]) -> list[Request]:
        ids = self._ids(questions)
        if self.variant.task.answer == "generate":
            return self._generations(ids, prompts)
        delimiter = "" if self.variant.chat else self.variant.template.delimiter
        if self.variant.task.answer == "score_text":
            return self._texts(ids, questions, prompts, delimiter)
        if self.variant.template.prompts is not None:
            return [
                self._pairs(key, question, rendered, delimiter) for key, question, rendered in zip(ids, questions, prompts, strict=True)
            ]
        return list(self._choices(ids, questions, prompts, delimiter))

    def _generations(self, ids: Sequence[str], prompts: Sequence[_ItemPrompts]) -> list[Request]:
        settings = self.variant.task.generation
        contexts = self.encoder.contexts([rendered.texts[0] for rendered in prompts])
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
                rendered.prompts[0],
            )
            for key, context, rendered in zip(ids, contexts, prompts, strict=True)
        ]

    def _texts(self, ids: Sequence[str], questions: Sequence[Question], prompts: Sequence[_ItemPrompts], delimiter: str) -> list[Request]:
        requests: list[Request] = []
        for key, question, rendered in zip(ids, questions, prompts, strict=True):
            context, text = rendered.texts[0], question.references[0]
            windows = self.encoder.windows(context, (delimiter if context else "") + text)
            self._check_tokens(question, "text", text, windows[0][1])
            requests.append(ScoreText(key, windows, ((rendered.prompts[0], text),)))
        return requests

    def _choices(
        self, ids: Sequence[str], questions: Sequence[Question], prompts: Sequence[_ItemPrompts], delimiter: str
    ) -> list[ScoreChoices]:
        texts = [rendered.texts[0] for rendered in prompts]
        encoded = self.encoder.choices(texts, [[delimiter + choice for choice in question.choices] for question in questions])
        for question, tokenized in zip(questions, encoded, strict=True):
            for choice, tokens in zip(question.choices, tokenized.choices, strict=True):
                self._check_tokens(question, "choice", choice, tokens)
        return [
            ScoreChoices(key, tokenized.context, tokenized.choices, rendered.prompts[0], question.choices)
            for key, tokenized, rendered, question in zip(ids, encoded, prompts, questions, strict=True)
        ]

    def _pairs(self, key: str, question: Question, rendered: _ItemPrompts, delimiter: str) -> ScoreText:
        """A question whose choices have a prompt each."""
        encoded = self.encoder.choices(rendered.texts, [[delimiter + choice] for choice in question.choices])
        for choice, tokenized in zip(question.choices, encoded, strict=True):
            self._check_tokens(question, "choice", choice, tokenized.choices[0])
        windows = tuple((tokenized.context, tokenized.choices[0]) for tokenized in encoded)
        return ScoreText(key, windows, tuple(zip(rendered.prompts, question.choices, strict=True)))

    def _more(self, request: Request) -> tuple[Generate, ...]:
        """The same request with other seeds; none where decoding is greedy, since every text would be the same."""
        if not isinstance(request, Generate) or request.temperature == 0:
            return ()
        keys = [f"{request.id}/{number}" for number in range(1, self.texts)]
        return tuple(replace(request, id=key, seed=self._item_seed(key)) for key in keys)

    def _priors(self, questions: Sequence[Question]) -> list[ScoreChoices]:
        prompt = self.variant.unconditional()
        delimiter = "" if self.variant.chat or not prompt.text else self.variant.template.delimiter
        ids = [f"{key}/prior" for key in self._ids(questions)]
        rendered = _ItemPrompts((prompt,), (self.encoder.text(prompt),))
        return self._choices(ids, questions, [rendered] * len(questions), delimiter)

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
        """Whether prompt and answer are different sequences, each with the whole context length to itself."""
        return self.encoder.architecture == "seq2seq"

    def _shortened(self, question: Question, shots: Sequence[Question]) -> ItemRequests:
        """The item with as many whole examples as fit, the last ones dropped; with none left, its longest field is cut at the end."""
        for remaining in range(len(shots) - 1, -1, -1):
            text, request = self._attempt(question, shots[:remaining])
            if self._fits(request):
                return ItemRequests(question, text, request, len(shots) - remaining)
        return self._cut(question, len(shots))

    def _attempt(self, question: Question, shots: Sequence[Question]) -> tuple[str, Request]:
        """The text and the request of a question after these examples."""
        rendered = self._prompts(question, shots)
        return rendered.texts[0], self._requests([question], [rendered])[0]

    def _cut(self, question: Question, dropped: int) -> ItemRequests:
        row = question.item.row
        fields = sorted((name for name, value in row.items() if isinstance(value, str)), key=lambda name: -len(row[name]))

        def with_field(name: str, characters: int) -> tuple[str, Request]:
            shorter = replace(question.item, row={**row, name: row[name][:characters]})
            return self._attempt(replace(question, item=shorter), ())

        for name in fields:
            fits = partial(self._fits_with, with_field, name)
            if fits(0):
                text, request = with_field(name, _largest(len(row[name]), fits))
                return ItemRequests(question, text, request, dropped, text_cut=True)
        raise TaskError(
            f"Task {self.variant.task.task}, item {question.item.id}: the prompt is longer than the model's context of "
            f"{self.encoder.max_length} tokens, even without few-shot examples and with any one field left out.",
            "Use a model with a longer context, or exclude the item with data.filter.",
        )

    def _fits_with(self, with_field: Callable[[str, int], tuple[str, Request]], name: str, characters: int) -> bool:
        return self._fits(with_field(name, characters)[1])


def _largest(high: int, fits: Callable[[int], bool]) -> int:
    """The largest count in [0, high) that fits, given that 0 does and that the counts that fit are an unbroken range."""
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
