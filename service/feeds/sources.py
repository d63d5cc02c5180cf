"""The public sources, by what they are asked. Every answer is parsed at once: what leaves this room is typed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final
from urllib.parse import quote, urlencode

from service.feeds import open_meteo, queue_times, themeparks_wiki, wiki_history

Ask = Callable[[str], bytes]  # the body that an address answers with; raises Unanswered

FORECAST: Final = "forecast"


class Sources:
    """ThemeParks.wiki, Queue-Times and Open-Meteo below these addresses, asked with `ask`.

    Each question raises Unanswered where there is no answer, and BadFeed where it is none to the question.
    """

    def __init__(self, ask: Ask, *, themeparks_wiki_url: str, queue_times_url: str, open_meteo_url: str) -> None:
        self._ask = ask
        self._wiki = themeparks_wiki_url.rstrip("/")
        self._queue_times = queue_times_url.rstrip("/")
        self._weather = f"{open_meteo_url.rstrip('/').removesuffix(f'/{FORECAST}')}/{FORECAST}"

    def destinations(self) -> themeparks_wiki.Destinations:
        """All resorts of ThemeParks.wiki with their parks."""
        return themeparks_wiki.destinations(self._ask(f"{self._wiki}/destinations"))

    def wiki_park(self, wiki_id: str) -> themeparks_wiki.Entity:
        """Where a park of ThemeParks.wiki lies."""
        return themeparks_wiki.entity(self._ask(self._entity(wiki_id)))

    def children(self, wiki_id: str) -> themeparks_wiki.Children:
        """The rides of a park of ThemeParks.wiki."""
        return themeparks_wiki.children(self._ask(f"{self._entity(wiki_id)}/children"))

    def live(self, wiki_id: str) -> themeparks_wiki.Live:
        """What the attractions of a park of ThemeParks.wiki do now."""
        return themeparks_wiki.live(self._ask(f"{self._entity(wiki_id)}/live"))

    def schedule(self, wiki_id: str) -> themeparks_wiki.Schedule:
        """The hours of a park of ThemeParks.wiki, of some thirty days."""
        return themeparks_wiki.schedule(self._ask(f"{self._entity(wiki_id)}/schedule"))

    def history(self, wiki_id: str, day: date) -> wiki_history.History:
        """What the attractions of a park of ThemeParks.wiki did on one of its local days."""
        return wiki_history.history(self._ask(f"{self._entity(wiki_id)}/history?date={day}"))

    def queue_times_parks(self) -> queue_times.Parks:
        """All parks of Queue-Times."""
        return queue_times.parks(self._ask(f"{self._queue_times}/parks.json"))

    def queue_times(self, park_id: int) -> queue_times.Queues:
        """What the rides of a park of Queue-Times do now."""
        return queue_times.queue_times(self._ask(f"{self._queue_times}/parks/{park_id}/queue_times.json"))

    def weather(self, latitude: float, longitude: float) -> open_meteo.Weather:
        """The hours of today, in UTC, and of the six days after it, at a place."""
        asked = {"latitude": f"{latitude:.5f}", "longitude": f"{longitude:.5f}", **open_meteo.QUESTION}
        return open_meteo.weather(self._ask(f"{self._weather}?{urlencode(asked, safe=',')}"))

    def _entity(self, wiki_id: str) -> str:
        return f"{self._wiki}/entity/{quote(wiki_id, safe='')}"
