"""What the shop stores itself."""

from __future__ import annotations

from django.db import models


class Order(models.Model):
    """An order, by the number that the customer's browser gave to it: sent twice, it is one order."""

    number = models.CharField(max_length=36, primary_key=True)
    customer = models.CharField(max_length=64)
    article = models.CharField(max_length=200)
