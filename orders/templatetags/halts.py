"""How far a halt has come, wherever one is shown."""

from django import template

from orders.risk import halts

register = template.Library()
register.filter("how_far", halts.how_far)
