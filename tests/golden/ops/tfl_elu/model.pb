
7
n0_in0Placeholder*
dtype0*
shape
:
›
n0tfl.elun0_in0*
input_scale
"P*â<*"
input_zero_point

’ÿÿÿÿÿÿÿÿ*
output_scale
"«~2<*
output_type0*
output_zero_point
A
?
n1_in0Placeholder*
dtype0*
shape:
›
n1tfl.elun1_in0*
input_scale
"è°Ÿ>*"
input_zero_point

ˆÿÿÿÿÿÿÿÿ*
output_scale
"óv>*
output_type0*
output_zero_point

?
n2_in0Placeholder*
dtype0*
shape:
¤
n2tfl.elun2_in0*
input_scale
"°^½>*"
input_zero_point

·ÿÿÿÿÿÿÿÿ*
output_scale
"=·>*
output_type0*#
output_zero_point

åÿÿÿÿÿÿÿÿ"¿