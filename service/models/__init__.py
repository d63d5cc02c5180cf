"""What was observed and what was decided, as tables. Models hold no questions: those are in `queries`."""

from service.models.base import Base
from service.models.operations import (
    AggregationJobLog,
    DataQualityIssue,
    IssueType,
    JobLease,
    JobStatus,
    PerformanceBaseline,
    ServiceState,
)
from service.models.park import Park, ParkSchedule, Ride
from service.models.snapshots import ParkActivitySnapshot, RideStatusSnapshot
from service.models.stats import DailyParkStats, DailyStats, MetricsVersion, StatDay, YearlyParkStats, YearlyRideStats
from service.models.weather import WeatherForecast, WeatherObservation

# Parents before children, so that the tables can be created in this order.
ALL_MODELS: tuple[type[Base], ...] = (
    Park,
    Ride,
    ParkSchedule,
    RideStatusSnapshot,
    ParkActivitySnapshot,
    MetricsVersion,
    StatDay,
    DailyStats,
    DailyParkStats,
    YearlyParkStats,
    YearlyRideStats,
    WeatherObservation,
    WeatherForecast,
    ServiceState,
    AggregationJobLog,
    JobLease,
    PerformanceBaseline,
    DataQualityIssue,
)

__all__ = [
    "ALL_MODELS",
    "AggregationJobLog",
    "Base",
    "DailyParkStats",
    "DailyStats",
    "DataQualityIssue",
    "IssueType",
    "JobLease",
    "JobStatus",
    "MetricsVersion",
    "Park",
    "ParkActivitySnapshot",
    "ParkSchedule",
    "PerformanceBaseline",
    "Ride",
    "RideStatusSnapshot",
    "ServiceState",
    "StatDay",
    "WeatherForecast",
    "WeatherObservation",
    "YearlyParkStats",
    "YearlyRideStats",
]
