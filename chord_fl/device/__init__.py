"""What a phone does with what it holds: resources, adaptation, local work. Everything takes a batch of devices."""
