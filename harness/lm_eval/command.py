"""lm-eval's own command line, to which the model `harness` is known.

Example: python -m harness.lm_eval.command run --model harness --model_args model=DIR,adapter=DIR,dtype=float32 --tasks arc_easy
"""

from __future__ import annotations

import sys

from harness.errors import HarnessError
from harness.lm_eval import task_names


def main() -> None:
    """Register the model and hand over to lm-eval; exits with 2 for bad input."""
    try:
        task_names.installed()
        from lm_eval.__main__ import cli_evaluate

        import harness.lm_eval.model  # noqa: F401 - registers the model
        from harness.lm_eval import squad_metrics

        squad_metrics.provide()
        cli_evaluate()
    except HarnessError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
