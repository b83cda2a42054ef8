"""The AWS side of the ports: boto3 lives here and nowhere else in the tasks."""
