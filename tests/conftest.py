"""Settings of the whole suite: every graph and loop program is verified after every pass."""

from jitgrad import config

config.update(verify=True)
