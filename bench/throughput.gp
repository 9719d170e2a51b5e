# SPDX-License-Identifier: MIT
# Messages a second against their size.
load "style.gp"
set xlabel "bytes a message"
set ylabel "messages a second"
set xrange [40:1600000]
set xtics ("64 B" 64, "1 KiB" 1024, "16 KiB" 16384, "256 KiB" 262144, "1 MiB" 1048576)
set format y "%.0s%c"
plot for [i = 0:curves - 1] data index i using 1:2 \
	with linespoints lt int(word(types, i + 1)) ps 0.6 title columnheader(1)
