# SPDX-License-Identifier: MIT
# What the pictures have in common. report.py sets data, picture, heading, curves and types. For
# each curve, types has the line type of its system.
set terminal svg size 860,520 dynamic background "#ffffff" font "sans,13"
set output picture
set title heading
set logscale xy
set grid xtics ytics lt 1 lc rgb "#dddddd"
set key outside right
set linetype 1 lc rgb "#000000" lw 2 pt 7
set linetype 2 lc rgb "#888888" lw 2 pt 7
set linetype 3 lc rgb "#d62728" lw 4 pt 5
set linetype 4 lc rgb "#ff9896" lw 4 pt 5
set linetype 5 lc rgb "#f7c6c6" lw 4 pt 5
set linetype 6 lc rgb "#1f77b4" lw 2 pt 9
set linetype 7 lc rgb "#17becf" lw 2 pt 9
set linetype 8 lc rgb "#9467bd" lw 2 pt 9
set linetype 9 lc rgb "#2ca02c" lw 2 pt 11
set linetype 10 lc rgb "#bcbd22" lw 2 pt 11
set linetype 11 lc rgb "#ff7f0e" lw 2 pt 11
set linetype 12 lc rgb "#8c564b" lw 2 pt 13
