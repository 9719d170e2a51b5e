# SPDX-License-Identifier: MIT
# What three processes have over time: data and picture are given.
set terminal svg size 860,760 dynamic background "#ffffff" font "sans,13"
set output picture
set multiplot layout 3,1
set grid xtics ytics lt 1 lc rgb "#dddddd"
set key outside right
set linetype 1 lc rgb "#d62728" lw 1.5
set linetype 2 lc rgb "#1f77b4" lw 1.5
set linetype 3 lc rgb "#2ca02c" lw 1.5
set yrange [0:*]
names = "server resident traveller"
titles = "'memory of its own, MiB' 'open descriptors' 'threads'"
do for [m = 0:2] {
	set title word(titles, m + 1)
	if (m == 2) { set xlabel "seconds" }
	plot for [p = 0:2] data skip 1 using 1:(column(2 + 3 * p + m) / (m ? 1 : 1024)) with lines lt p + 1 title word(names, p + 1)
}
unset multiplot
