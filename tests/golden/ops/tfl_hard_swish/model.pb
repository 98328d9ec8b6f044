
?
n0_in0Placeholder*
dtype0*
shape:
«
n0tfl.hard_swishn0_in0*
input_scale
"¼ê<*"
input_zero_point

óÿÿÿÿÿÿÿÿ*
output_scale
"TõŠ=*
output_type0*#
output_zero_point

Øÿÿÿÿÿÿÿÿ
?
n1_in0Placeholder*
dtype0*
shape:
¢
n1tfl.hard_swishn1_in0*
input_scale
"¬>¿=*"
input_zero_point

Ëÿÿÿÿÿÿÿÿ*
output_scale
"ïÞ¨=*
output_type0*
output_zero_point
9
7
n2_in0Placeholder*
dtype0*
shape
:
«
n2tfl.hard_swishn2_in0*
input_scale
"ìqð=*"
input_zero_point

­ÿÿÿÿÿÿÿÿ*
output_scale
")
Ê=*
output_type0*#
output_zero_point

øÿÿÿÿÿÿÿÿ"¿