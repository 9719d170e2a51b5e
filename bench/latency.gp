# SPDX-License-Identifier: MIT
# The time of a round trip against its percentile.
load "style.gp"
set xlabel "percentile"
set ylabel "microseconds"
set xrange [1:12000]
set xtics ("0" 1, "50" 2, "90" 10, "99" 100, "99.9" 1000, "99.99" 10000)
set format y "%g"
plot for [i = 0:curves - 1] data index i using (1 / (1 - $1)):2 \
	with linespoints lt int(word(types, i + 1)) ps 0.6 title columnheader(1)
