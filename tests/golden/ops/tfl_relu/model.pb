
?
n0_in0Placeholder*
dtype0*
shape:
œ
n0tfl.relu_n1_to_1n0_in0*
input_scale
"ö;9>*
input_zero_point
*
output_scale
" >Å=*
output_type0*
output_zero_point
O
7
n1_in0Placeholder*
dtype0*
shape
:
“
n1tfl.relun1_in0*
input_scale
"06j>*
input_zero_point
*
output_scale
"§ö=*
output_type0*
output_zero_point

3
n2_in0Placeholder*
dtype0*
shape:
›
n2tfl.relu_n1_to_1n2_in0*
input_scale
"eô=*
input_zero_point
g*
output_scale
""¦J>*
output_type0*
output_zero_point
i"¿