"""The README says what is true."""

from __future__ import annotations

import re

from tests.readme_settings import COMMANDS, README, with_table


def test_the_table_of_settings_is_the_one_that_the_models_give() -> None:
    readme = README.read_text(encoding="utf-8")

    assert with_table(readme) == readme, "run `make readme`"
    assert all(f"`{flag}`" in readme for flag in ("--shards", "--entrypoint", "--intents", "--sim", "--json"))


def test_the_smallest_bot_is_the_one_of_the_examples_and_has_at_most_20_lines() -> None:
    readme = README.read_text(encoding="utf-8")
    shown = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    bot = (README.parent / "examples" / "smallest_bot.py").read_text(encoding="utf-8")

    assert shown is not None
    assert shown[1] == bot
    assert bot.count("\n") <= 20


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", README.read_text(encoding="utf-8"))

    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_the_secret_settings_show_no_default() -> None:
    for model in COMMANDS.values():
        for name, field in model.model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and extra["secret"] and not field.is_required():
                assert extra["shown_default"], name
