"""Charts as SVG text: sharp at any size, themed by CSS, drawn for a phone's width first."""
