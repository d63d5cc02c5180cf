"""Brings parks and rides up to date with ThemeParks.wiki and Queue-Times.

The two sources share no ids, so parks and rides are joined by their names, and ours stay joined by the ids they have
got. Each park is asked for and stored in turn, in a transaction of its own: stopped at any moment, what is stored is
right, and the next run goes on.
"""

from service.jobs.syncing.job import sync
from service.jobs.syncing.parks import Choice
from service.jobs.syncing.report import Conflict, Doubt, Failure, Moved, Refused, Reidentified, Renamed, Report

__all__ = ["Choice", "Conflict", "Doubt", "Failure", "Moved", "Refused", "Reidentified", "Renamed", "Report", "sync"]
