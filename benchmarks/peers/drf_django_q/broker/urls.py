"""The API: a plain ModelViewSet, and a task for each order."""

from django_q.tasks import async_task
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import DefaultRouter
from rest_framework.viewsets import ModelViewSet

from broker.models import Order


class OrderSerializer(serializers.ModelSerializer):
    instrument = serializers.CharField(min_length=12, max_length=12)
    quantity = serializers.IntegerField(min_value=1)

    class Meta:
        model = Order
        fields = ["id", "created_at", "type", "side", "instrument", "limit_price", "quantity", "status", "error_message"]
        read_only_fields = ["status", "error_message"]

    def validate(self, attrs: dict) -> dict:
        if (attrs["type"] == "limit") != (attrs.get("limit_price") is not None):
            raise serializers.ValidationError("a limit order has a limit_price, a market order has none")
        return attrs


class OrderViewSet(ModelViewSet):
    queryset = Order.objects.order_by("-id")
    serializer_class = OrderSerializer

    def create(self, request: Request) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        order = serializer.save()
        async_task("broker.tasks.place_order", order.id)
        return Response(serializer.data, status.HTTP_202_ACCEPTED)


router = DefaultRouter(trailing_slash=False)
router.register("orders", OrderViewSet)
urlpatterns = router.urls
