package media

import "math/bits"

// The H.264 here is the least that players accept: baseline profile, all frames
// IDR, the first macroblock of each row in plain samples (I_PCM), the others
// predicted from their left neighbour with nothing left to correct. That makes
// horizontal stripes at one to two bytes a macroblock.

// h264Parameters returns the sequence and picture parameter sets for w by h.
func h264Parameters(w, h int) (sps, pps []byte) {
	cols, rows := (w+15)/16, (h+15)/16
	var b bitWriter
	b.bits(0x67, 8) // NAL unit: sequence parameter set
	b.bits(66, 8)   // baseline profile
	b.bits(0xc0, 8) // constraint sets 0 and 1
	b.bits(40, 8)   // level 4.0
	b.ue(0)         // seq_parameter_set_id
	b.ue(0)         // log2_max_frame_num_minus4
	b.ue(2)         // pic_order_cnt_type: output order is decoding order
	b.ue(1)         // max_num_ref_frames
	b.bits(0, 1)    // gaps_in_frame_num_value_allowed_flag
	b.ue(uint(cols - 1))
	b.ue(uint(rows - 1))
	b.bits(1, 1) // frame_mbs_only_flag
	b.bits(1, 1) // direct_8x8_inference_flag
	right, bottom := (cols*16-w)/2, (rows*16-h)/2
	if right == 0 && bottom == 0 {
		b.bits(0, 1)
	} else {
		b.bits(1, 1) // cropping, in units of two pixels
		b.ue(0)
		b.ue(uint(right))
		b.ue(0)
		b.ue(uint(bottom))
	}
	b.bits(0, 1) // vui_parameters_present_flag
	sps = b.end()

	b = bitWriter{}
	b.bits(0x68, 8) // NAL unit: picture parameter set
	b.ue(0)         // pic_parameter_set_id
	b.ue(0)         // seq_parameter_set_id
	b.bits(0, 2)    // CAVLC, no field order
	b.ue(0)         // one slice group
	b.ue(0)         // num_ref_idx_l0
	b.ue(0)         // num_ref_idx_l1
	b.bits(0, 3)    // no weighted prediction
	b.ue(0)         // pic_init_qp
	b.ue(0)         // pic_init_qs
	b.ue(0)         // chroma_qp_index_offset
	b.bits(4, 3)    // deblocking control present, constrained intra 0, redundant 0
	return sps, b.end()
}

// h264Frame returns one IDR frame; n is its number, counted from 0.
func h264Frame(seed uint64, w, h, n int) []byte {
	cols, rows := (w+15)/16, (h+15)/16
	var b bitWriter
	b.bits(0x65, 8)               // NAL unit: IDR slice
	b.ue(0)                       // first_mb_in_slice
	b.ue(7)                       // slice_type: all I
	b.ue(0)                       // pic_parameter_set_id
	b.bits(0, 4)                  // frame_num
	b.ue(uint(n % 2))             // idr_pic_id: differs from the frame before
	b.bits(0, 2)                  // no_output_of_prior_pics_flag, long_term_reference_flag
	b.ue(0)                       // slice_qp_delta
	b.ue(1)                       // disable_deblocking_filter_idc: off
	coded := func(col int) uint { // coefficients that a neighbour counts for
		if col == 0 {
			return 16 // I_PCM
		}
		return 0
	}
	for row := range rows {
		b.ue(25) // I_PCM
		b.align()
		colour := mix(seed + uint64(row*8/rows)) //nolint:gosec // rows are few and positive
		luma := uint(colour%200) + 32
		for range 256 {
			b.bits(luma, 8)
		}
		for plane := range 2 {
			for range 64 {
				b.bits(uint(colour>>(8+8*plane)&127)+64, 8)
			}
		}
		for col := 1; col < cols; col++ {
			b.ue(2) // I_16x16, horizontal prediction, nothing coded
			b.ue(1) // chroma: horizontal
			b.ue(0) // mb_qp_delta
			left := coded(col - 1)
			if row > 0 {
				left = (left + coded(col) + 1) / 2
			}
			if left >= 8 {
				b.bits(3, 6) // coeff_token of no coefficients, neighbours busy
			} else {
				b.bits(1, 1) // the same, neighbours empty
			}
		}
	}
	return b.end()
}

// bitWriter collects bits, highest first.
type bitWriter struct {
	out  []byte
	free int // unused bits in the last byte
}

func (b *bitWriter) bits(v uint, n int) {
	for i := n - 1; i >= 0; i-- {
		if b.free == 0 {
			b.out = append(b.out, 0)
			b.free = 8
		}
		b.free--
		b.out[len(b.out)-1] |= byte(v>>i&1) << b.free
	}
}

// ue writes v as an unsigned Exp-Golomb code.
func (b *bitWriter) ue(v uint) {
	n := bits.Len(v + 1)
	b.bits(0, n-1)
	b.bits(v+1, n)
}

func (b *bitWriter) align() { b.free = 0 }

// end closes the NAL unit: stop bit, and a 3 wherever a decoder would take the
// bytes for a start code.
func (b *bitWriter) end() []byte {
	b.bits(1, 1)
	var out []byte
	zeros := 0
	for _, c := range b.out {
		if zeros >= 2 && c <= 3 {
			out = append(out, 3)
			zeros = 0
		}
		out = append(out, c)
		if c == 0 {
			zeros++
		} else {
			zeros = 0
		}
	}
	return out
}
