"""The template filter that shows the progress of a halt."""

from django import template

from orders.risk import halts

register = template.Library()
register.filter("how_far", halts.how_far)
