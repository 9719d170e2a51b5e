# SPDX-License-Identifier: MIT
# What three processes use over time. The variables `data` and `picture` are given.
set terminal svg size 860,960 dynamic background "#ffffff" font "sans,13"
set output picture
set multiplot layout 4,1
set grid xtics ytics lt 1 lc rgb "#dddddd"
set key outside right
set linetype 1 lc rgb "#d62728" lw 1.5
set linetype 2 lc rgb "#1f77b4" lw 1.5
set linetype 3 lc rgb "#2ca02c" lw 1.5
set yrange [0:*]
names = "server resident traveller"
titles = "'memory of its own, MiB' 'of it allocated, MiB' 'open descriptors' 'threads'"
do for [m = 0:3] {
	set title word(titles, m + 1)
	if (m == 3) { set xlabel "seconds" }
	plot for [p = 0:2] data skip 1 using 1:(column(2 + 4 * p + m) / (m < 2 ? 1024 : 1)) \
		with lines lt p + 1 title word(names, p + 1)
}
unset multiplot
