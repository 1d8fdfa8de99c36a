"""Pages of stories that readers are shown, and which of the stories they open; simulated. What people like moves.

A page has SLOTS stories in an order that is drawn, and the first ones are looked at most. So a slot says much of
whether its story was opened; but where a story will stand is not known when a page is ranked.
All is pure: who reads follows from SEED alone, what people like also from the day, and a day's pages from the day, and
from whether the world has changed.
"""

from datetime import date
from functools import cache

import numpy as np
import polars as pl

PAGES, SLOTS = 125, 8  # a day, and on each
READERS = 4_000
SEED = 17
DEVICES = {"phone": 3, "desktop": 7, "tablet": 12}
"""How many minutes people like to read on it."""
NEWS = ("city", "economy", "politics", "sport")
TOPICS = (*NEWS, "arts", "books", "climate", "film", "food", "health", "science", "travel")
AUTHORS = 25
UNSIGNED = 0.03  # share of the stories that name no author
NEW = 0.1  # share of the readers who have not opened any yet


@cache
def readers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How much a reader likes a topic, and how often they opened one: [READERS, TOPICS]; their device, [READERS]."""
    random = np.random.default_rng(SEED)
    likes = random.normal(0, 1.1, (READERS, len(TOPICS)))
    opened = np.where(random.random(READERS) < NEW, 0, random.geometric(0.03, READERS))
    shares = np.exp(likes) / np.exp(likes).sum(axis=1, keepdims=True)
    return likes, random.multinomial(opened, shares), random.choice(list(DEVICES), READERS, p=[0.55, 0.35, 0.1])


def liked(day: date) -> tuple[np.ndarray, np.ndarray]:
    """How well topics and authors are liked on a day, [TOPICS] and [AUTHORS]; topics come and go in waves."""
    random = np.random.default_rng([SEED, 0])
    topics, authors = random.normal(0, 0.4, len(TOPICS)), random.normal(0, 0.5, AUTHORS)
    days, phase = random.uniform(100, 200, len(TOPICS)), random.uniform(0, 2 * np.pi, len(TOPICS))
    topics += 0.9 * np.sin(2 * np.pi * day.toordinal() / days + phase)
    return topics - topics.mean(), authors


def rows(day: date, changed: bool = False) -> pl.DataFrame:
    """The stories that were shown on a day, page by page.

    Once the world has changed, most is read on a phone, where people take their time by then; and stories are longer.
    """
    random = np.random.default_rng([SEED, 1, day.toordinal()])
    (likes, opened, devices), (topics, authors) = readers(), liked(day)
    page, slot = np.divmod(np.arange(PAGES * SLOTS), SLOTS)
    number = len(page)
    reader = random.integers(READERS, size=PAGES)[page]
    topic, author = random.integers(len(TOPICS), size=number), random.integers(AUTHORS, size=number)
    minutes, hours = random.lognormal(1.6, 0.6, number), random.exponential(12, number)
    device, phone = devices[reader], random.random(PAGES)[page] < 0.6
    if changed:
        minutes, device = 1.5 * minutes, np.where(phone, "phone", device)
    likely = DEVICES | {"phone": 8} if changed else DEVICES

    suits = np.log(minutes / [likely[each] for each in device]) ** 2
    old = hours * (topic < len(NEWS))
    odds = topics[topic] + likes[reader, topic] + authors[author] - 1.6 * suits - 0.3 * old - 1.4
    looked = 1 / (1 + 0.4 * slot)
    clicked = random.random(number) < looked / (1 + np.exp(-odds))

    before = opened[reader].sum(axis=1)
    moments = np.sort(np.clip(random.normal(15, 4, PAGES), 0, 23.9) * 3600).astype("timedelta64[s]")
    table = pl.DataFrame(
        {
            "impression": [f"{day:%y%m%d}-{on:03}-{at}" for on, at in zip(page, slot, strict=True)],
            "shown_at": np.datetime64(day, "us") + moments[page],
            "page_view": [f"{day:%y%m%d}-{each:03}" for each in page],
            "reader": reader,
            "slot": slot,
            "device": device,
            "topic": np.array(TOPICS)[topic],
            "author": [f"author {each:02}" for each in author],
            "minutes": minutes.round(1),
            "hours_old": hours.round(1),
            "opened_before": before,
            "topic_share": (opened[reader, topic] / np.maximum(before, 1)).round(3),
            "clicked": clicked,
        }
    )
    known = {"author": random.random(number) >= UNSIGNED, "topic_share": before > 0}
    return table.with_columns(pl.when(pl.Series(there)).then(name).alias(name) for name, there in known.items())
