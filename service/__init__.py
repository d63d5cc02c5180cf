"""Theme Park Hall of Shame: what every ride did, and which parks and rides break down most."""

VERSION = "1.0.0"
