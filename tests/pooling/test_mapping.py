import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.mapping import paper_cells, paper_scale, released_cells, released_scale

from spp_det.boxes import flip
from spp_det.images import scaled_size
from spp_det.pooling import choose_scales, window_cells

PAPER_SCALES = (480, 576, 688, 864, 1200)
RULES = ("paper", "released")
ZF5 = {"stride": 16, "offset": 20.0}  # the released pads: 21 counted from 1


def boxes_of(*rows):
    return np.array(rows, np.float32)


@st.composite
def images_and_boxes(draw, least=1):
    """A size, and whole-pixel boxes within it."""
    height, width = draw(st.integers(least, 600)), draw(st.integers(least, 600))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    first = np.stack([rng.integers(0, width, 20), rng.integers(0, height, 20)], axis=1)
    last = np.stack([rng.integers(first[:, 0] + 1, width + 1), rng.integers(first[:, 1] + 1, height + 1)], axis=1)
    return (height, width), np.concatenate([first, last], axis=1).astype(np.float32)


class TestChooseScales:
    def test_worked_by_hand(self):
        # A window of 100 x 100 on an image of short side 375: 688 makes it 183 x 183, 864 makes it 230 x 230.
        boxes = boxes_of((0, 0, 100, 100), (0, 0, 375, 375), (10, 10, 30, 30), (0, 0, 120, 120))
        assert choose_scales(boxes, (375, 500), PAPER_SCALES).tolist() == [3, 0, 4, 2]

    def test_released_worked_by_hand(self):
        # expected = round(208 * 375 / 100) = 780 is as far from 688 (92) as 872 would be; 864 is nearer (84).
        boxes = boxes_of((0, 0, 100, 100), (0, 0, 375, 375), (10, 10, 30, 30))
        assert choose_scales(boxes, (375, 500), PAPER_SCALES, "released").tolist() == [3, 0, 4]
        assert choose_scales(boxes[:1], (375, 500), (688, 872), "released").tolist() == [0]  # a tie goes to the first

    def test_the_rules_differ(self):
        box = boxes_of((0, 0, 102, 102))
        assert choose_scales(box, (375, 500), (688, 864), "paper").tolist() == [1]
        assert choose_scales(box, (375, 500), (688, 864), "released").tolist() == [0]

    def test_a_tie_goes_to_the_smaller(self):
        # 1 * f * f pixels for f = 1 and 7, side * side = 25 in the middle.
        assert choose_scales(boxes_of((0, 0, 1, 1)), (1, 1), (1, 7), side=5).tolist() == [0]

    @settings(deadline=None, max_examples=60)
    @given(images_and_boxes())
    def test_equals_the_oracles(self, case):
        size, boxes = case
        paper = choose_scales(boxes, size, PAPER_SCALES)
        released = choose_scales(boxes, size, PAPER_SCALES, "released")
        for box, p, r in zip(boxes.tolist(), paper, released, strict=True):
            assert p == paper_scale(box, min(size), PAPER_SCALES)
            assert r == released_scale(box, min(size), PAPER_SCALES)

    def test_no_box_and_wrong_arguments(self):
        none = np.zeros((0, 4), np.float32)
        assert choose_scales(none, (5, 5), (1, 2)).shape == (0,)
        with pytest.raises(ValueError, match="scales are positive"):
            choose_scales(none, (5, 5), ())
        with pytest.raises(ValueError, match="the rule is"):
            choose_scales(none, (5, 5), (1,), "other")


class TestWindowCells:
    def test_papers_formula_at_offset_0(self):
        # floor(x / S) + 1 and ceil(x / S) - 1 of the first and the last pixel, counted from 0.
        boxes = boxes_of((0, 17, 224, 96), (16, 15, 50, 34))
        cells = window_cells(boxes, (224, 224), (224, 224), (14, 14), 16, 0.0)
        assert cells.tolist() == [[1, 2, 13, 5], [2, 1, 3, 2]]

    def test_papers_rule_takes_the_centres_inside(self):
        # centres at 7.5, 23.5, 39.5, ...
        boxes = boxes_of((0, 0, 64, 64), (8, 23, 40, 26), (8, 24, 16, 30))
        cells = window_cells(boxes, (64, 64), (64, 64), (4, 4), 16, 7.5)
        assert cells.tolist() == [[0, 0, 3, 3], [1, 1, 1, 1], [0, 1, 0, 1]]

    def test_scaled_boxes(self):
        # At twice the size the box is pixels 20 .. 79 in x, 40 .. 199 in y.
        cells = window_cells(boxes_of((10, 20, 40, 100)), (150, 100), (300, 200), (18, 12), 16, 7.5)
        assert cells.tolist() == [[1, 3, 4, 11]]

    def test_released_numbers_of_zf5(self):
        for side, count in ((224, 13), (688, 42)):
            whole = window_cells(
                boxes_of((0, 0, side, side)), (side, side), (side, side), (count, count), **ZF5, rule="released"
            )
            assert (whole + 1).tolist() == [[1, 1, count, count]]
        # left = floor((X0 - 5.5) / 16), right = ceil((X1 - 34.5) / 16): X 54 .. 149, Y 53 .. 148
        cells = window_cells(boxes_of((54, 53, 150, 149)), (688, 688), (688, 688), (42, 42), **ZF5, rule="released")
        assert cells.tolist() == [[3, 2, 8, 8]]

    def test_released_halves_cut_towards_zero(self):
        # X 60 .. 61: left floor(54.5 / 16) = 3, right ceil(26.5 / 16) = 2; counted from 1 (4 + 3) / 2 = 3, so cell 2.
        cells = window_cells(boxes_of((60, 60, 62, 62)), (688, 688), (688, 688), (42, 42), **ZF5, rule="released")
        assert cells.tolist() == [[2, 2, 2, 2]]

    @settings(deadline=None, max_examples=50)
    @given(images_and_boxes(), st.integers(50, 700), st.sampled_from([(16, 7.5), (16, 0.0), (12, 5.0), (8, 20.0)]))
    def test_equals_the_oracles(self, case, scale, geometry):
        (height, width), boxes = case
        boxes, (stride, offset) = boxes[:5], geometry
        scaled = scaled_size((height, width), scale)
        if max(scaled) > 6000:
            return
        shape = (scaled[0] // stride + 1, scaled[1] // stride + 1)
        paper = window_cells(boxes, (height, width), scaled, shape, stride, offset)
        released = window_cells(boxes, (height, width), scaled, shape, stride, offset, "released")
        short = min(height, width)
        ratio = (scale - 1) / (short - 1) if short > 1 else scale
        for box, p, r in zip(boxes.astype(float).tolist(), paper.tolist(), released.tolist(), strict=True):
            for axis in (0, 1):
                cells, f = shape[1 - axis], scaled[1 - axis] / (height, width)[1 - axis]
                expected = paper_cells(box[axis] * f, box[axis + 2] * f - 1, cells, stride, offset)
                assert (p[axis], p[axis + 2]) == expected
                expected = released_cells(box[axis] + 1, box[axis + 2], ratio, cells, stride, offset + 1, 6.5)
                assert (r[axis] + 1, r[axis + 2] + 1) == expected

    @settings(deadline=None, max_examples=60)
    @given(images_and_boxes(), st.integers(1, 700), st.sampled_from(RULES), st.floats(0, 40), st.integers(1, 32))
    def test_cells_lie_on_the_map(self, case, scale, rule, offset, stride):
        size, boxes = case
        height, width = 3, 11
        cells = window_cells(boxes, size, scaled_size(size, scale), (height, width), stride, offset, rule)
        assert cells.dtype == np.int64
        assert (cells >= 0).all()
        assert (cells[:, [0, 2]] < width).all()
        assert (cells[:, [1, 3]] < height).all()
        assert (cells[:, :2] <= cells[:, 2:]).all()

    @settings(deadline=None, max_examples=60)
    @given(images_and_boxes(), st.sampled_from(RULES), st.integers(0, 100))
    def test_a_window_further_right_has_no_cell_further_left(self, case, rule, shift):
        size, boxes = case
        size = (size[0] + 100, size[1] + 100)
        first = window_cells(boxes, size, size, (50, 50), 16, 7.5, rule)
        second = window_cells(boxes + np.float32(shift), size, size, (50, 50), 16, 7.5, rule)
        assert (second >= first).all()

    @settings(deadline=None, max_examples=60)
    @given(st.integers(1, 20), st.integers(0, 2**32 - 1), st.sampled_from(RULES))
    def test_mirrored_windows_have_mirrored_cells(self, count, seed, rule):
        # 16 * count pixels with centres at 7.5, 23.5, ... are their own mirror image.
        rng = np.random.default_rng(seed)
        side = 16 * count
        first = rng.integers(0, max(side - 32, 1), (30, 2))
        last = np.minimum(first + rng.integers(32, side + 32, (30, 2)), side)
        boxes = np.concatenate([first, last], axis=1).astype(np.float32)
        cells = window_cells(boxes, (side, side), (side, side), (count, count), 16, 7.5, rule)
        mirrored = window_cells(flip(boxes, side), (side, side), (side, side), (count, count), 16, 7.5, rule)
        wide = boxes[:, 2] - boxes[:, 0] >= 32  # a window that holds no centre may lie as far from two cells
        np.testing.assert_array_equal(mirrored[wide][:, [0, 2]], count - 1 - cells[wide][:, [2, 0]])
        np.testing.assert_array_equal(mirrored[:, [1, 3]], cells[:, [1, 3]])

    @pytest.mark.parametrize("rule", RULES)
    def test_image_one_pixel_wide_and_no_box(self, rule):
        cells = window_cells(boxes_of((0, 20, 1, 100)), (100, 1), (3200, 32), (200, 2), 16, 7.5, rule)
        assert cells[0, 1] >= 39
        assert cells[0, 3] == {"paper": 199, "released": 197}[rule]  # the latter scales the last pixel to 99 * 32
        none = window_cells(np.zeros((0, 4), np.float32), (100, 1), (3200, 32), (200, 2), 16, 7.5, rule)
        assert none.shape == (0, 4)

    def test_wrong_arguments(self):
        none = np.zeros((0, 4), np.float32)
        with pytest.raises(ValueError, match="the rule is"):
            window_cells(none, (5, 5), (5, 5), (1, 1), 16, 7.5, "other")
        with pytest.raises(ValueError, match="has no cell"):
            window_cells(none, (5, 5), (5, 5), (0, 1), 16, 7.5)
