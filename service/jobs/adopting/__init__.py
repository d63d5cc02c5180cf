"""Adopts a predecessor: copies what it observed and its daily history, and reports what it leaves behind.

Readings go in by Pacific day and park: that is what the store wants at once, the source's index (ride_id, recorded_at)
gives just that, and a day of one park is all that is held in memory. Which of two readings in a slot was recorded later
needs no memory either. Each park's day is a transaction of its own: stopped at any moment, the next run goes on with
the day it was at, and a run after the end brings what is new.
"""

from service.jobs.adopting.job import adopt
from service.jobs.adopting.predecessor import opened
from service.jobs.adopting.report import AdoptionReport, LeftBehind

__all__ = ["AdoptionReport", "LeftBehind", "adopt", "opened"]
