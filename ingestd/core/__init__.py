"""The pure heart: values in, values out. No I/O, no clock, no log, no thread stands below this folder."""
