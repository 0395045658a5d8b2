# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# scrape.sh: what a monitoring agent costs that asks each second.
scene_scrape() { :; }
