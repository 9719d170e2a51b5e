# SPDX-License-Identifier: MIT
# How many times as fast as the raw program each system is: a panel for each place, a line for each
# load. report.py also sets places, labels and lowest. The curves of the first place come first, in
# the order of types.
load "style.gp"
set terminal svg size 1000,420 dynamic background "#ffffff" font "sans,13"
set output picture
unset logscale y
set xrange [0.11:110]
set xtics ("0.3" 0.3, "1" 1, "3" 3, "10" 10, "30" 30, "100" 100)
set yrange [lowest:0.6]
set arrow from 1, graph 0 to 1, graph 1 nohead lw 2 lc rgb "#000000"
systems = words(types)
set key at screen 0.84, screen 0.5 left center vertical Left reverse samplen 1
left = 0.21
width = (0.835 - left) / words(places)
set tmargin at screen 0.82
set bmargin at screen 0.1
set multiplot title "Times as fast as the raw program, which is the line at 1: further right is faster"
do for [place = 0:words(places) - 1] {
	set title word(places, place + 1)
	set lmargin at screen left + place * width
	set rmargin at screen left + (place + 1) * width - 0.02
	if (place == 0) {
		eval "set ytics (" . labels . ")"
	} else {
		unset ytics
		set ytics -100, 1, 0 format ""
		unset key
	}
	plot for [i = 0:systems - 1] data index place * systems + i using 1:2 \
		with points lt int(word(types, i + 1)) ps 1 title columnheader(1)
}
unset multiplot
